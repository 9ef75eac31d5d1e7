"""How data is destroyed: processes, units of the noise level, laws and grids of levels."""
