//! Data of the `chat.*` events. Which chat session they belong to is the envelope's `session_id`.

use serde::{Deserialize, Serialize};

/// Data of `chat.message`: somebody has said something in a chat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who wrote it: a user id, or a name of the visitor.
    pub from: String,
    /// The message, plain text.
    pub text: String,
    /// Files that go with the message, in the order to show them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachments: Option<Vec<Attachment>>,
}

/// A file that goes with a [`ChatMessage`]. Only the link travels; the file lies elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Where the file is.
    pub url: String,
    /// The file's name, as shown to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The file's media type, such as `image/png`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The file's size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// Data of `chat.typing`: somebody is writing. Ephemeral: not stored, no offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatTyping {
    /// Who is writing: a user id, or a name of the visitor.
    pub from: String,
}

/// Data of `chat.session.created`: a chat session exists from now on.
///
/// The envelope's `session_id`, at least 16 characters, is what opens the public socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatSessionCreated {
    /// The visitor: a name or an id of the publisher's choosing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visitor: Option<String>,
    /// What the chat is about, or what started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Data of `chat.session.ended`: a chat session is over, and its public sockets close.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatSessionEnded {
    /// The visitor: a name or an id of the publisher's choosing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visitor: Option<String>,
    /// Why the chat ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Data of `chat.agent.assigned`: an agent answers this chat from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatAgentAssigned {
    /// The agent's user id.
    pub agent_id: String,
}
