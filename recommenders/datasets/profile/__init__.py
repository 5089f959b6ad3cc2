"""What a data set looks like before anything is trained: figures, and a page that shows them."""
