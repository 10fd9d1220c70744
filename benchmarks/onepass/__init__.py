"""Quality of students of one pass, of teachers that sample column by column."""
