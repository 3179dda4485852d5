"""Scores with confidence intervals, efficiency, and diagnostics of teacher and student.

    metrics      the metrics by name, and metrics of the user's own code
    scoring      what a metric is and needs; from a system's outputs to a tally
    tally        statistics per example; the metrics' mathematics is in overlap (BLEU, chrF, ROUGE), edits (exact match,
                 WER), meteor, bertscore, diversity (distinct n-grams), slots (slot error rate) and consistency
    words        words of any script, and the tokenization that fits one
    reference_checks  which metrics can score which references
    source_items numbers, dates, codes and names of a text, for consistency
    likelihood   negative log-likelihood of references under a network, for metric nll
    bootstrap    scores with intervals, paired differences, the share of the gap closed
    calibration  from a confidence to the probability that a text is as good as the teacher's; its error
    deferral     the score of a system in which the teacher answers where the student is not sure
    examples     where one system is much better or worse than another
    predictions  predictions on disk, and outputs of other tools
    efficiency   latency, throughput and memory, each measurement in its own process (benchmark_process)
    disagreement divergence of student from teacher at every position of a text; exposure bias in exposure
    prefixes     the teacher completes prefixes of the student's texts, by greedy decoding
    depths       latency and throughput with fewer layers

This package does not depend on training or the report.
"""
