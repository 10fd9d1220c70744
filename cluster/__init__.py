"""flowkd on a Ray cluster: trainings, the job queue, serving, and a cluster of one machine."""
