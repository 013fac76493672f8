"""Client ID Metadata Documents: fetched through the edge, judged here, and true only once a registrar has applied them."""
