//! The golden cases, run natively.

use jackfield_plugin::golden;
use match_filter::Match;

#[test]
fn every_golden_case_is_answered_as_written() {
    golden::check_filter::<Match>("golden");
}
