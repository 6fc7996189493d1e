"""What a delivery costs: beside the peers over real sockets (``make bench``), and in one process."""
