//! `Template`: the layout of data records, as an exporter defines it.

use super::element::Target;
use super::reader::Reader;

/// Length of a field whose values carry their length (RFC 7011 section 7).
const VARIABLE: u16 = u16::MAX;

/// Maximum number of fields in a template.
pub(super) const MAX_FIELDS: usize = 512;

/// One field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) enterprise: u32,
    pub(super) element: u16,
    length: u16,
}

/// Kind of the records that a template describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TemplateKind {
    Flow,
    /// The first fields are the scope.
    Options {
        scope_fields: usize,
    },
}

/// The layout of data records.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) kind: TemplateKind,
    fields: Box<[Field]>,
    /// Fields that are read, in the order of their precedence: target and index in `fields`.
    steps: Box<[(Target, u16)]>,
    /// Offset of each field in a record; empty if a field has a variable length.
    offsets: Box<[u32]>,
    /// Minimum length of a record, in bytes; at least 1.
    min_length: usize,
}

/// Position of each field of a record; reused between records.
#[derive(Debug, Default)]
pub(super) struct Positions(Vec<(u32, u32)>);

impl Template {
    /// Compiles a template. Returns `None` if its records could be empty or too long.
    pub(super) fn new(kind: TemplateKind, fields: Vec<Field>) -> Option<Self> {
        let is_variable = fields.iter().any(|field| field.length == VARIABLE);
        let mut offsets = Vec::with_capacity(fields.len());
        let mut min_length = 0_usize;
        for field in &fields {
            offsets.push(u32::try_from(min_length).ok()?);
            let length = match field.length {
                VARIABLE => 1,
                length => usize::from(length),
            };
            min_length += length;
        }
        // A record without bytes would repeat without end; one beyond a datagram never arrives.
        if min_length == 0 || min_length > usize::from(u16::MAX) {
            return None;
        }
        let mut steps: Vec<(Target, u16)> = fields
            .iter()
            .zip(0..)
            .filter_map(|(field, index)| {
                Some((Target::of(field.enterprise, field.element)?, index))
            })
            .collect();
        // Stable, so that the first of equal elements precedes.
        steps.sort_by_key(|(target, _)| *target);
        Some(Self {
            kind,
            fields: fields.into(),
            steps: steps.into(),
            offsets: if is_variable {
                Box::default()
            } else {
                offsets.into()
            },
            min_length,
        })
    }

    /// Returns whether another template has the same layout.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.fields == other.fields
    }

    /// Returns the memory that the definition occupies, in bytes, approximately.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.fields.len() * size_of::<Field>()
            + self.steps.len() * size_of::<(Target, u16)>()
            + self.offsets.len() * size_of::<u32>()
    }

    /// Splits the next record from the data of a set; `None` at the end, which may be padding.
    /// Returns an error if the record continues beyond the set.
    pub(super) fn next_record<'a>(
        &self,
        data: &mut Reader<'a>,
        positions: &mut Positions,
    ) -> Option<Result<&'a [u8], CutRecord>> {
        if data.rest().len() < self.min_length {
            return None;
        }
        if !self.offsets.is_empty() {
            return data.bytes(self.min_length).map(Ok);
        }
        Some(self.next_variable(data, positions).ok_or(CutRecord))
    }

    fn next_variable<'a>(
        &self,
        data: &mut Reader<'a>,
        positions: &mut Positions,
    ) -> Option<&'a [u8]> {
        positions.0.clear();
        let all = data.rest();
        let mut record = *data;
        for field in &self.fields {
            let length = match field.length {
                VARIABLE => match record.u8()? {
                    255 => usize::from(record.u16()?),
                    length => usize::from(length),
                },
                length => usize::from(length),
            };
            let start = all.len() - record.rest().len();
            record.bytes(length)?;
            positions.0.push((start as u32, (start + length) as u32));
        }
        let length = all.len() - record.rest().len();
        data.bytes(length)
    }

    /// Calls `read` with the target and the value of each field that is read, in the order of
    /// precedence.
    #[inline]
    pub(super) fn values<'a>(
        &self,
        record: &'a [u8],
        positions: &Positions,
        mut read: impl FnMut(Target, &'a [u8]),
    ) {
        for &(target, index) in &self.steps {
            read(target, self.value(record, positions, usize::from(index)));
        }
    }

    /// Returns the fields of a record with their values. The first item is whether the field belongs
    /// to the scope.
    pub(super) fn all_values<'s, 'a: 's>(
        &'s self,
        record: &'a [u8],
        positions: &'s Positions,
    ) -> impl Iterator<Item = (bool, Field, &'a [u8])> + 's {
        let scope_fields = match self.kind {
            TemplateKind::Flow => 0,
            TemplateKind::Options { scope_fields } => scope_fields,
        };
        self.fields.iter().enumerate().map(move |(index, field)| {
            let value = self.value(record, positions, index);
            (index < scope_fields, *field, value)
        })
    }

    #[inline]
    fn value<'a>(&self, record: &'a [u8], positions: &Positions, index: usize) -> &'a [u8] {
        let range = match self.offsets.get(index) {
            Some(&start) => {
                let start = start as usize;
                start..start + usize::from(self.fields[index].length)
            }
            None => {
                let (start, end) = positions.0.get(index).copied().unwrap_or_default();
                start as usize..end as usize
            }
        };
        record.get(range).unwrap_or_default()
    }
}

/// Error returned if a record continues beyond its set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CutRecord;

/// Reads `count` fields. `has_enterprise`: the first bit of an element announces the number of an
/// enterprise (IPFIX). Returns `None` if the definition is truncated or has too many fields.
pub(super) fn read_fields(
    reader: &mut Reader<'_>,
    count: usize,
    has_enterprise: bool,
    fields: &mut Vec<Field>,
) -> Option<()> {
    const ENTERPRISE: u16 = 0x8000;
    // Each field has at least four bytes, so nothing is allocated for a false count.
    if count.checked_mul(4)? > reader.rest().len() || fields.len() + count > MAX_FIELDS {
        return None;
    }
    for _ in 0..count {
        let (mut element, length) = (reader.u16()?, reader.u16()?);
        let mut enterprise = 0;
        if has_enterprise && element & ENTERPRISE != 0 {
            element &= !ENTERPRISE;
            enterprise = reader.u32()?;
        }
        fields.push(Field {
            enterprise,
            element,
            length,
        });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(element: u16, length: u16) -> Field {
        Field {
            enterprise: 0,
            element,
            length,
        }
    }

    #[test]
    fn records_of_fixed_length_leave_padding() {
        let template = Template::new(TemplateKind::Flow, vec![field(2, 2), field(999, 1)]).unwrap();
        let mut data = Reader::new(&[0, 1, 9, 0, 2, 9, 0, 0]);
        let mut positions = Positions::default();
        let mut read = Vec::new();
        while let Some(record) = template.next_record(&mut data, &mut positions) {
            template.values(record.unwrap(), &positions, |target, value| {
                read.push((target, value.to_vec()));
            });
        }
        assert_eq!(
            read,
            [(Target::Packets, vec![0, 1]), (Target::Packets, vec![0, 2])]
        );
    }

    #[test]
    fn values_of_variable_length_are_split() {
        let fields = vec![field(96, VARIABLE), field(2, 1), field(371, VARIABLE)];
        let template = Template::new(TemplateKind::Flow, fields).unwrap();
        let mut bytes = vec![2, b'a', b'b', 7, 255, 1, 0];
        bytes.extend([b'u'; 256]);
        bytes.extend([0, 8, 0]);
        bytes.extend([5, b'c']);
        let mut data = Reader::new(&bytes);
        let mut positions = Positions::default();
        let mut lengths = Vec::new();
        let first = template
            .next_record(&mut data, &mut positions)
            .unwrap()
            .unwrap();
        template.values(first, &positions, |target, value| {
            lengths.push((target, value.len()));
        });
        let wanted = [
            (Target::Packets, 1),
            (Target::Application, 2),
            (Target::User, 256),
        ];
        assert_eq!(lengths, wanted);
        let second = template
            .next_record(&mut data, &mut positions)
            .unwrap()
            .unwrap();
        assert_eq!(second, [0, 8, 0], "empty values are legal");
        assert_eq!(
            template.next_record(&mut data, &mut positions),
            None,
            "padding"
        );
        let mut cut = Reader::new(&[5, b'c', b'd']);
        let record = template.next_record(&mut cut, &mut positions);
        assert_eq!(record, Some(Err(CutRecord)));
    }

    #[test]
    fn templates_without_bytes_are_rejected() {
        assert!(Template::new(TemplateKind::Flow, vec![]).is_none());
        assert!(Template::new(TemplateKind::Flow, vec![field(1, 0); 3]).is_none());
        assert!(Template::new(TemplateKind::Flow, vec![field(1, 65_534); 2]).is_none());
        assert!(Template::new(TemplateKind::Flow, vec![field(1, 0), field(2, 4)]).is_some());
    }

    #[test]
    fn a_false_field_count_allocates_nothing() {
        let mut fields = Vec::new();
        let mut reader = Reader::new(&[0; 40]);
        assert_eq!(read_fields(&mut reader, 65_535, true, &mut fields), None);
        assert_eq!(fields.capacity(), 0);
    }
}
