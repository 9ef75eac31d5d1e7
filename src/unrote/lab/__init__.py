"""The laboratory: experiments of the papers, their claims, and the ledger of what was measured."""
