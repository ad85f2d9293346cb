"""Pages of reports: one way to lay out facts, tables, plots and pictures in HTML that fetches nothing."""
