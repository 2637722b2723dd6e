"""The pipeline on Kubeflow Pipelines and Vertex AI: compiled, run here from its spec, submitted."""
