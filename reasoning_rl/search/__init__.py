"""Search over thoughts: pure rules on trees; the network is an argument."""
