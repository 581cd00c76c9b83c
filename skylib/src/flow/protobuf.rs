//! Protobuf encoding of the record types, directly on the public structs.
//!
//! [`wire_message`] lists the field numbers of a struct and implements [`prost::Message`] for it;
//! the encoding of a field follows from its type ([`WireField`]). Default values are omitted and
//! unknown fields are skipped, as in every proto3 message.

use prost::DecodeError;
use prost::bytes::{Buf, BufMut, Bytes};
use prost::encoding::{self, DecodeContext, WireType};

use crate::value::Text;

/// Encoding of a field of a message.
pub(super) trait WireField {
    /// Appends the field with its tag; nothing for a default value.
    fn encode_field(&self, tag: u32, buf: &mut impl BufMut);
    /// Decodes the field and merges it into `self`.
    fn merge_wire(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError>;
    /// Returns the encoded length with its tag, in bytes.
    fn wire_len(&self, tag: u32) -> usize;
}

macro_rules! scalar {
    ($($type:ty => $module:ident),*) => {$(
        impl WireField for $type {
            fn encode_field(&self, tag: u32, buf: &mut impl BufMut) {
                if *self != Self::default() {
                    encoding::$module::encode(tag, self, buf);
                }
            }

            fn merge_wire(
                &mut self,
                wire_type: WireType,
                buf: &mut impl Buf,
                context: DecodeContext,
            ) -> Result<(), DecodeError> {
                encoding::$module::merge(wire_type, self, buf, context)
            }

            fn wire_len(&self, tag: u32) -> usize {
                if *self == Self::default() { 0 } else { encoding::$module::encoded_len(tag, self) }
            }
        }
    )*};
}

scalar!(i64 => int64, i32 => int32, u32 => uint32, bool => bool, Bytes => bytes);

impl WireField for Text {
    fn encode_field(&self, tag: u32, buf: &mut impl BufMut) {
        if !self.is_empty() {
            put_text(self, tag, buf);
        }
    }

    fn merge_wire(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut text = String::new();
        encoding::string::merge(wire_type, &mut text, buf, context)?;
        *self = Self::from(text);
        Ok(())
    }

    fn wire_len(&self, tag: u32) -> usize {
        if self.is_empty() {
            0
        } else {
            text_len(self, tag)
        }
    }
}

impl WireField for Vec<Text> {
    fn encode_field(&self, tag: u32, buf: &mut impl BufMut) {
        for text in self {
            put_text(text, tag, buf);
        }
    }

    fn merge_wire(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        let mut text = Text::default();
        WireField::merge_wire(&mut text, wire_type, buf, context)?;
        self.push(text);
        Ok(())
    }

    fn wire_len(&self, tag: u32) -> usize {
        self.iter().map(|text| text_len(text, tag)).sum()
    }
}

/// Message of the record schema. A marker is needed because [`prost::Message`] also covers plain
/// numbers.
pub(super) trait RecordMessage: prost::Message + Default {}

impl<M: RecordMessage> RecordMessage for Box<M> {}

/// Optional number; a value of 0 is encoded too.
impl WireField for Option<u32> {
    fn encode_field(&self, tag: u32, buf: &mut impl BufMut) {
        if let Some(number) = self {
            encoding::uint32::encode(tag, number, buf);
        }
    }

    fn merge_wire(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        encoding::uint32::merge(wire_type, self.get_or_insert_default(), buf, context)
    }

    fn wire_len(&self, tag: u32) -> usize {
        self.as_ref()
            .map_or(0, |number| encoding::uint32::encoded_len(tag, number))
    }
}

impl WireField for Vec<u32> {
    fn encode_field(&self, tag: u32, buf: &mut impl BufMut) {
        encoding::uint32::encode_packed(tag, self, buf);
    }

    fn merge_wire(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        encoding::uint32::merge_repeated(wire_type, self, buf, context)
    }

    fn wire_len(&self, tag: u32) -> usize {
        encoding::uint32::encoded_len_packed(tag, self)
    }
}

impl<M: RecordMessage> WireField for Option<M> {
    fn encode_field(&self, tag: u32, buf: &mut impl BufMut) {
        if let Some(message) = self {
            encoding::message::encode(tag, message, buf);
        }
    }

    fn merge_wire(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        encoding::message::merge(wire_type, self.get_or_insert_default(), buf, context)
    }

    fn wire_len(&self, tag: u32) -> usize {
        self.as_ref()
            .map_or(0, |message| encoding::message::encoded_len(tag, message))
    }
}

impl<M: RecordMessage> WireField for Vec<M> {
    fn encode_field(&self, tag: u32, buf: &mut impl BufMut) {
        encoding::message::encode_repeated(tag, self, buf);
    }

    fn merge_wire(
        &mut self,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        encoding::message::merge_repeated(wire_type, self, buf, context)
    }

    fn wire_len(&self, tag: u32) -> usize {
        encoding::message::encoded_len_repeated(tag, self)
    }
}

/// Appends a string with its tag.
fn put_text(text: &str, tag: u32, buf: &mut impl BufMut) {
    encoding::encode_key(tag, WireType::LengthDelimited, buf);
    encoding::encode_varint(text.len() as u64, buf);
    buf.put_slice(text.as_bytes());
}

/// Returns the encoded length of a string with its tag, in bytes.
fn text_len(text: &str, tag: u32) -> usize {
    encoding::key_len(tag) + encoding::encoded_len_varint(text.len() as u64) + text.len()
}

/// Implements [`prost::Message`] for a struct: `wire_message!(Name { number => field, … })`.
macro_rules! wire_message {
    ($name:ident { $($tag:literal => $field:ident),* $(,)? }) => {
        impl $crate::flow::protobuf::RecordMessage for $name {}

        impl prost::Message for $name {
            fn encode_raw(&self, buf: &mut impl prost::bytes::BufMut) {
                use $crate::flow::protobuf::WireField;
                $(self.$field.encode_field($tag, buf);)*
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: prost::encoding::WireType,
                buf: &mut impl prost::bytes::Buf,
                context: prost::encoding::DecodeContext,
            ) -> Result<(), prost::DecodeError> {
                use $crate::flow::protobuf::WireField;
                match tag {
                    $($tag => self.$field.merge_wire(wire_type, buf, context).map_err(|mut error| {
                        error.push(stringify!($name), stringify!($field));
                        error
                    }),)*
                    _ => prost::encoding::skip_field(wire_type, tag, buf, context),
                }
            }

            fn encoded_len(&self) -> usize {
                use $crate::flow::protobuf::WireField;
                0 $(+ self.$field.wire_len($tag))*
            }

            fn clear(&mut self) {
                *self = Self::default();
            }
        }
    };
}

/// Implements [`WireField`] for an enum of numbered variants; an unknown number decodes as the
/// default.
macro_rules! wire_enum {
    ($name:ident) => {
        impl $crate::flow::protobuf::WireField for $name {
            fn encode_field(&self, tag: u32, buf: &mut impl prost::bytes::BufMut) {
                (*self as i32).encode_field(tag, buf);
            }

            fn merge_wire(
                &mut self,
                wire_type: prost::encoding::WireType,
                buf: &mut impl prost::bytes::Buf,
                context: prost::encoding::DecodeContext,
            ) -> Result<(), prost::DecodeError> {
                let mut number = 0_i32;
                $crate::flow::protobuf::WireField::merge_wire(
                    &mut number,
                    wire_type,
                    buf,
                    context,
                )?;
                *self = Self::from_number(number).unwrap_or_default();
                Ok(())
            }

            fn wire_len(&self, tag: u32) -> usize {
                $crate::flow::protobuf::WireField::wire_len(&(*self as i32), tag)
            }
        }
    };
}

pub(super) use {wire_enum, wire_message};
