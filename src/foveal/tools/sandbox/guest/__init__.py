"""The sandbox's own side: what runs in the fork-server and in its sessions.

Standard library only (pictures and figures: Pillow and matplotlib, if they are there). The fork-server imports this
folder as the top-level package `guest`, so that nothing else of foveal is ever loaded next to a model's code.
"""
