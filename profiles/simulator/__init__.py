"""The bundled Linktree simulator: a small real HTTP server that speaks the assumed contract.

It has a process of its own and knows nothing of Django, of the database or of our client. State lives in memory and,
when a path is given, in one JSON file. Source: the Linktree contract, sections 3 to 10.
"""
