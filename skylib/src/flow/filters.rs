//! `PacketFilters`: packet filters from their text, for those who do not know its language.

use super::PacketFilter;
use crate::packet::LinkType;

/// Makes packet filters of text; the capture layer does it with libpcap.
pub trait PacketFilters: Send + Sync {
    /// The filter for packets of a link type; the empty text lets all through.
    ///
    /// # Errors
    /// What is wrong with the text, in the words of its language.
    fn compile(&self, text: &str, link_type: LinkType) -> Result<Box<dyn PacketFilter>, String>;
}
