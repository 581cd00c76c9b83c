//! Macro for the messages of a record whose fields are omitted from JSON if they have their default
//! value.

/// Returns whether a value is the default of its type.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Defines a message with its JSON and protobuf encodings:
/// `message! { Name { number field "key" Type; … } }`. The calling module imports [`is_default`].
macro_rules! message {
    (
        $(#[$meta:meta])*
        $name:ident { $($tag:literal $field:ident $key:literal $type:ty $(, $with:literal)?;)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct $name {
            $(
                #[doc = concat!("Field `", $key, "` of the JSON record.")]
                #[serde(rename = $key, skip_serializing_if = "is_default" $(, with = $with)?)]
                pub $field: $type,
            )*
        }

        wire_message!($name { $($tag => $field,)* });
    };
}

pub(super) use message;
