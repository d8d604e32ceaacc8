"""Names of Great Expectations' rules, as the contracts use them."""

UNIQUE = "expect_column_values_to_be_unique"
NULL = "expect_column_values_to_be_null"
IN_SET = "expect_column_values_to_be_in_set"
BETWEEN = "expect_column_values_to_be_between"
MATCHES = "expect_column_values_to_match_regex"
CONTAINS = "expect_column_distinct_values_to_contain_set"
