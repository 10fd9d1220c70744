"""Reports: self-contained HTML pages with plots and grids of pictures."""
