"""A long random run: both ends move, lose packets, lose their addresses and their daemons, under real programs.

Not a scenario: it reproduces nothing of the talk, and it lasts as long as it is asked to.
"""
