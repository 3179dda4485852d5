"""How good is it, how sure are we, and what does it cost?

    tally        the sufficient statistics of one system's predictions under one metric
    metrics      the metrics by name; their mathematics in overlap, edits, meteor, bertscore, diversity and slots
    likelihood   the negative log-likelihood of gold tokens, as a tally like the others
    bootstrap    scores with intervals, paired differences, the share of the gap closed
    examples     where one system does much better or worse than another
    predictions  predictions on disk, ours and those that other tools wrote
    efficiency   latency, throughput and memory, each measurement in a process of its own
    disagreement what teacher and student say at every position of a text; exposure bias in exposure
    prefixes     the student begins, the teacher finishes; greedy writes from a prefix on
    depths       latency and throughput with fewer layers

Knows no training and no page: a report is made of what this room returns.
"""
