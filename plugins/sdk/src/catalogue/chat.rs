//! Data of the `chat.*` events.

use serde::Deserialize;

use crate::Str;

/// Data of `chat.message`: somebody has said something in a chat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ChatMessage<'a> {
    /// Who wrote it: a user id, or a name of the visitor.
    #[serde(borrow)]
    pub from: Str<'a>,
    /// The message, plain text.
    #[serde(borrow)]
    pub text: Str<'a>,
    /// Files that go with the message, in the order to show them.
    #[serde(borrow)]
    pub attachments: Option<Vec<Attachment<'a>>>,
}

/// A file that goes with a [`ChatMessage`]. Only the link travels; the file lies elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Attachment<'a> {
    /// Where the file is.
    #[serde(borrow)]
    pub url: Str<'a>,
    /// The file's name, as shown to people.
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
    /// The file's media type, such as `image/png`.
    #[serde(borrow)]
    pub content_type: Option<Str<'a>>,
    /// The file's size in bytes.
    pub size_bytes: Option<u64>,
}

/// Data of `chat.typing`: somebody is writing. Ephemeral: not stored, no offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ChatTyping<'a> {
    /// Who is writing: a user id, or a name of the visitor.
    #[serde(borrow)]
    pub from: Str<'a>,
}

/// Data of `chat.session.created`: a chat session exists from now on.
///
/// The envelope's `session_id`, at least 16 characters, is what opens the public socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ChatSessionCreated<'a> {
    /// The visitor: a name or an id of the publisher's choosing.
    #[serde(borrow)]
    pub visitor: Option<Str<'a>>,
    /// What the chat is about, or what started it.
    #[serde(borrow)]
    pub reason: Option<Str<'a>>,
}

/// Data of `chat.session.ended`: a chat session is over, and its public sockets close.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ChatSessionEnded<'a> {
    /// The visitor: a name or an id of the publisher's choosing.
    #[serde(borrow)]
    pub visitor: Option<Str<'a>>,
    /// Why the chat ended.
    #[serde(borrow)]
    pub reason: Option<Str<'a>>,
}

/// Data of `chat.agent.assigned`: an agent answers this chat from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ChatAgentAssigned<'a> {
    /// The agent's user id.
    #[serde(borrow)]
    pub agent_id: Str<'a>,
}
