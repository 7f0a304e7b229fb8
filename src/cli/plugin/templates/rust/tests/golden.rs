//! The golden cases natively, under `cargo test`; `jackfield plugin run` runs the same in the component.

#[test]
fn every_golden_case_is_answered_as_written() {
    jackfield_plugin::golden::check_transform::<plugin::Announce>("tests");
}
