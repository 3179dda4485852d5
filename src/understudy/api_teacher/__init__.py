"""The API teacher: a model behind an OpenAI-compatible endpoint that writes pseudo-targets.

client sends one request; scheduler sends many, with concurrency, retries and a budget; journal caches the responses on
disk; response_filter decides which responses are usable; collect ties these together; responses and response_logprobs
turn a journal into pseudo-targets, predictions and log-probabilities of the student's tokens (logprob_alignment);
kd4gen_import reads responses that the KD4Gen code saved. The stages that use all this are in `pipeline/`.
"""
