"""SASRec (Kang & McAuley 2018)."""
