"""The object bank: cut-outs with opacity in one folder."""
