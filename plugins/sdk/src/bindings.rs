//! What `wit-bindgen` makes of `plugin.wit`, in three parts: what every plugin has, and one part for each kind.
//!
//! Not the two worlds of the file, because both export `lifecycle` and an exported macro exists once in a crate. The parts
//! of one plugin are joined again when the component is made, and give exactly its world.
#![expect(missing_docs, reason = "generated code; what is public is documented in plugin.wit")]

/// The shared types, the imports, and the export `lifecycle`.
pub mod common {
    wit_bindgen::generate!({
        inline: "
            package jackfield:sdk;
            world common {
                import jackfield:plugin/types@1.0.0;
                import jackfield:plugin/log@1.0.0;
                import jackfield:plugin/secrets@1.0.0;
                import jackfield:plugin/clock@1.0.0;
                export jackfield:plugin/lifecycle@1.0.0;
            }
        ",
        path: "../../wit/plugin-1.0.0",
        runtime_path: "jackfield_plugin::__private::wit_bindgen::rt",
        export_macro_name: "export_common",
        pub_export_macro: true,
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq],
    });
}

/// The export `transformer`.
pub mod transform {
    wit_bindgen::generate!({
        inline: "
            package jackfield:sdk;
            world transform {
                export jackfield:plugin/transformer@1.0.0;
            }
        ",
        path: "../../wit/plugin-1.0.0",
        runtime_path: "jackfield_plugin::__private::wit_bindgen::rt",
        export_macro_name: "export_transform",
        pub_export_macro: true,
        with: { "jackfield:plugin/types@1.0.0": jackfield_plugin::bindings::common::jackfield::plugin::types },
        generate_all,
    });
}

/// The export `filter`.
pub mod filter {
    wit_bindgen::generate!({
        inline: "
            package jackfield:sdk;
            world filter {
                export jackfield:plugin/filter@1.0.0;
            }
        ",
        path: "../../wit/plugin-1.0.0",
        runtime_path: "jackfield_plugin::__private::wit_bindgen::rt",
        export_macro_name: "export_filter",
        pub_export_macro: true,
        with: { "jackfield:plugin/types@1.0.0": jackfield_plugin::bindings::common::jackfield::plugin::types },
        generate_all,
    });
}
