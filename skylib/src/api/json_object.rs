//! `json_object!`: declares a struct together with its JSON form, from one list of fields.
//!
//! Each field is written once, together with the JSON key that clients use. From this list, the
//! macro generates the struct, its serialization, a reader that is as lenient as Go's decoder (see
//! [`go_json`](super::go_json)), the names that the OpenAPI document has to describe
//! ([`JsonObject::MEMBERS`]), and a `with_…` setter for each field that names one.
//!
//! ```text
//! json_object! {
//!     /// Documentation of the struct.
//!     #[derive(Eq)]
//!     pub struct EdgeRule {
//!         /// Documentation of the field.
//!         pub src: String = "Src", with_src;
//!         /// A field with an extra serde attribute and its own reader.
//!         #[serde(skip_serializing_if = "Option::is_none")]
//!         pub kind: Option<Kind> = "Type" via read_kind, with_kind;
//!     }
//! }
//! ```

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serialize};

use super::go_json::{JsonError, Members};

/// Struct whose fields are the members of a JSON object.
///
/// Implemented for every resource kind by one declaration per field.
///
/// ```
/// use skylib::api::{EdgeRule, JsonObject};
/// assert_eq!(EdgeRule::MEMBERS, ["UUID", "Name", "Description", "Src", "Dst", "Metadata"]);
/// ```
pub trait JsonObject: Serialize {
    /// JSON keys of the fields, in the order in which they are serialized.
    const MEMBERS: &'static [&'static str];

    /// Overwrites the fields whose members are present and not `null`.
    ///
    /// # Errors
    /// Returns [`JsonError::Member`] for the first member of the wrong type.
    fn read_members(&mut self, members: &Members<'_>) -> Result<(), JsonError>;
}

/// Declares a struct, its JSON form, and its setters; see the module documentation for an example.
macro_rules! json_object {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[$field_meta:meta])*
                pub $field:ident: $type:ty = $key:literal $(via $read:path)? $(, $setter:ident)?;
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
        #[non_exhaustive]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(rename = $key)]
                pub $field: $type,
            )*
        }

        impl $name {
            $($(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $setter(mut self, $field: impl Into<$type>) -> Self {
                    self.$field = $field.into();
                    self
                }
            )?)*
        }

        impl $crate::api::JsonObject for $name {
            const MEMBERS: &'static [&'static str] = &[$($key),*];

            fn read_members(
                &mut self,
                members: &$crate::api::go_json::Members<'_>,
            ) -> Result<(), $crate::api::go_json::JsonError> {
                $($crate::api::json_object::json_object!(
                    @read members, $key, &mut self.$field $(, $read)?
                )?;)*
                Ok(())
            }
        }
    };
    (@read $members:ident, $key:literal, $field:expr) => {
        $members.read($key, $field)
    };
    (@read $members:ident, $key:literal, $field:expr, $read:path) => {
        $read($members, $key, $field)
    };
}

pub(super) use json_object;

/// Implements [`Resource::id`](super::Resource::id) and
/// [`Resource::set_id`](super::Resource::set_id) with the field `uuid`.
macro_rules! uuid_is_id {
    () => {
        fn id(&self) -> &str {
            &self.uuid
        }

        fn set_id(&mut self, id: String) {
            self.uuid = id;
        }
    };
}

pub(super) use uuid_is_id;

/// Deserializes an object that is nested in another one, with the same leniency.
///
/// # Errors
/// Returns an error that names the member if a member has the wrong type, or an error if the value
/// is not an object.
pub(super) fn deserialize_object<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: JsonObject + Default,
    D: Deserializer<'de>,
{
    let members = Members::deserialize(deserializer)?;
    let mut object = T::default();
    object.read_members(&members).map_err(D::Error::custom)?;
    Ok(object)
}
