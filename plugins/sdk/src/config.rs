//! Reads a step's configuration, and says which field is wrong.

use serde::de::DeserializeOwned;

/// Reads configuration text; empty text is `{}`.
///
/// # Errors
/// The text is not JSON, or does not fit `C`: the message names the field by its path and says what was expected.
///
/// ```
/// #[derive(serde::Deserialize, Debug)]
/// #[serde(deny_unknown_fields)]
/// struct Config { limit: u32 }
///
/// let why = jackfield_plugin::parse_config::<Config>(r#"{"limit":"ten"}"#).unwrap_err();
/// assert!(why.starts_with("configuration field `limit`: invalid type"));
/// ```
pub fn parse_config<C: DeserializeOwned>(text: &str) -> Result<C, String> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let mut json = serde_json::Deserializer::from_str(text);
    let config = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { "configuration".to_owned() } else { format!("configuration field `{path}`") };
        format!("{place}: {}; correct the step's `config`", error.inner())
    })?;
    json.end().map_err(|error| format!("configuration: {error}; correct the step's `config`"))?;
    Ok(config)
}
