"""How good a model is (python -m demo.evaluate), told by a judge of ages (demo.evaluate.judge)."""
