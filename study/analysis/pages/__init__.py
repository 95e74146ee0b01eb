"""Pages on a study, as plain data for `dashboards` to render."""
