"""What runs for long on the cluster: training workers, the queue, serving. Imports flowkd only."""
