"""The response policy, pure: what a signal says (assess), which rules answer it (rules, windows), whom they hit (targets), how far the
sender's word reaches (respond), what the causes make of a posture (posture), and all of it over a story without a fabric (simulate).
"""
