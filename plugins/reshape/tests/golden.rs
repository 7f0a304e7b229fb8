//! The golden cases, run natively.

#[test]
fn every_golden_case_is_answered_as_written() {
    jackfield_plugin::golden::check_transform::<reshape::Reshape>("golden");
}
