//! Macro for the `with_*` setters of options and record structs.

/// Implements setters for fields of a struct: `setters! { Type { with_field field Argument; … } }`.
///
/// The argument is converted with [`Into`], so `Option<T>` fields take a `T` and
/// [`Text`](crate::value::Text) fields take `impl Into<Text>`.
macro_rules! setters {
    ($name:ident { $($setter:ident $field:ident $type:ty;)* }) => {
        impl $name {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $setter(mut self, $field: $type) -> Self {
                    self.$field = $field.into();
                    self
                }
            )*
        }
    };
}

pub(super) use setters;
