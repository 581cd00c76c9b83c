//! Sets of NetFlow 9 (RFC 3954) and IPFIX (RFC 7011): templates, options, and data.

use super::reader::{Reader, number};
use super::record::{
    ApplicationOption, FlowRecord, InterfaceOption, OptionRecord, SamplingOption, before_nul,
};
use super::record_builder::{Clocks, RecordBuilder, rate_of_interval, rate_of_size};
use super::template::{Field, Positions, Template, TemplateKind, read_fields};
use crate::time::Timestamp;

/// Version of the set format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetFormat {
    NetFlow9,
    Ipfix,
}

/// A set of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set<'a> {
    /// Definitions of templates.
    Templates(&'a [u8]),
    /// Definitions of options templates.
    OptionsTemplates(&'a [u8]),
    /// Data records.
    Data(u16, &'a [u8]),
    /// A set with a reserved number.
    Reserved,
    /// A set with an impossible length, which ends the message.
    Invalid,
    /// A data set that continues beyond the message: its beginning.
    Cut(u16, &'a [u8]),
}

/// Definition of a template.
#[derive(Debug)]
pub(super) enum Definition {
    /// The template with this ID; `None` if the definition is invalid.
    Template(u16, Option<Template>),
    /// Withdrawal of the template with this ID.
    Withdrawal(u16),
    /// Withdrawal of all templates of flows, or of all options templates.
    WithdrawalOfAll,
}

/// Minimum ID of a template.
const MIN_TEMPLATE: u16 = 256;

/// Reads the next set of a message; `None` at the end.
pub(super) fn next_set<'a>(message: &mut Reader<'a>, format: SetFormat) -> Option<Set<'a>> {
    const HEADER: usize = 4;
    let rest = message.rest();
    let (id, length) = (message.u16()?, usize::from(message.u16()?));
    if length < HEADER {
        message.up_to(usize::MAX);
        // Some exporters fill the message with zeros.
        let is_padding = rest.iter().all(|byte| *byte == 0);
        return (!is_padding).then_some(Set::Invalid);
    }
    let Some(content) = message.bytes(length - HEADER) else {
        return Some(Set::Cut(id, message.up_to(usize::MAX)));
    };
    Some(match (format, id) {
        (SetFormat::NetFlow9, 0) | (SetFormat::Ipfix, 2) => Set::Templates(content),
        (SetFormat::NetFlow9, 1) | (SetFormat::Ipfix, 3) => Set::OptionsTemplates(content),
        (_, MIN_TEMPLATE..) => Set::Data(id, content),
        _ => Set::Reserved,
    })
}

/// Reads the next definition of a template set. Returns `None` at the end, which may be padding, and
/// an error if the definition cannot be delimited, which ends the set.
pub(super) fn next_template(
    set: &mut Reader<'_>,
    format: SetFormat,
) -> Option<Result<Definition, InvalidDefinition>> {
    let (id, count) = (set.u16()?, usize::from(set.u16()?));
    if format == SetFormat::Ipfix && count == 0 {
        return Some(withdrawal(id, 2));
    }
    if id < MIN_TEMPLATE {
        return end_of_set(id, count, set);
    }
    Some(
        fields_of(set, format, count)
            .map(|fields| Definition::Template(id, Template::new(TemplateKind::Flow, fields))),
    )
}

/// Reads the next definition of an options template set, like [`next_template`].
pub(super) fn next_options_template(
    set: &mut Reader<'_>,
    format: SetFormat,
) -> Option<Result<Definition, InvalidDefinition>> {
    let (id, first) = (set.u16()?, usize::from(set.u16()?));
    if format == SetFormat::Ipfix && first == 0 {
        return Some(withdrawal(id, 3));
    }
    let second = usize::from(set.u16()?);
    if id < MIN_TEMPLATE {
        return end_of_set(id, first + second, set);
    }
    // NetFlow 9 has the lengths of both parts in bytes; IPFIX has the numbers of all fields and of
    // the scope fields.
    let (count, scope_fields) = match format {
        SetFormat::NetFlow9 => (first / 4 + second / 4, first / 4),
        SetFormat::Ipfix => (first, second),
    };
    Some(fields_of(set, format, count).map(|fields| {
        let is_valid = format == SetFormat::NetFlow9 || (1..=count).contains(&scope_fields);
        let kind = TemplateKind::Options { scope_fields };
        let template = is_valid.then(|| Template::new(kind, fields)).flatten();
        Definition::Template(id, template)
    }))
}

/// Error returned if a definition cannot be delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidDefinition;

fn fields_of(
    set: &mut Reader<'_>,
    format: SetFormat,
    count: usize,
) -> Result<Vec<Field>, InvalidDefinition> {
    let mut fields = Vec::new();
    let has_enterprise = format == SetFormat::Ipfix;
    match read_fields(set, count, has_enterprise, &mut fields) {
        Some(()) => Ok(fields),
        None => Err(InvalidDefinition),
    }
}

/// Returns the withdrawal of a template, or of all templates if the ID is that of the set (RFC 7011
/// section 8.1). An ID and a count of zero are padding.
fn withdrawal(id: u16, set: u16) -> Result<Definition, InvalidDefinition> {
    match id {
        MIN_TEMPLATE.. => Ok(Definition::Withdrawal(id)),
        _ if id == set => Ok(Definition::WithdrawalOfAll),
        _ => Err(InvalidDefinition),
    }
}

/// Returns the end of a set whose next definition has a reserved ID: padding, or an error.
fn end_of_set(
    id: u16,
    count: usize,
    set: &Reader<'_>,
) -> Option<Result<Definition, InvalidDefinition>> {
    let is_padding = id == 0 && count == 0 && set.rest().iter().all(|byte| *byte == 0);
    (!is_padding).then_some(Err(InvalidDefinition))
}

/// Reads a flow record.
pub(super) fn read_flow<'a>(
    template: &Template,
    record: &'a [u8],
    positions: &Positions,
    clocks: Clocks,
) -> FlowRecord<'a> {
    let mut builder = RecordBuilder::new(clocks);
    template.values(record, positions, |target, value| {
        builder.add(target, value);
    });
    builder.finish()
}

/// Values of an options record that are combined at its end.
#[derive(Default)]
struct OptionValues<'a> {
    interval: Option<u64>,
    random_interval: Option<u64>,
    packet_interval: Option<u64>,
    packet_space: Option<u64>,
    population: Option<u64>,
    size: Option<u64>,
    selector: Option<u64>,
    interface: InterfaceOption<'a>,
    application_id: Option<&'a [u8]>,
    application_name: Option<&'a [u8]>,
    application_description: Option<&'a [u8]>,
    system_init: Option<Timestamp>,
}

/// Reads an options record.
pub(super) fn read_options<'a>(
    template: &Template,
    record: &'a [u8],
    positions: &Positions,
    format: SetFormat,
) -> OptionRecord<'a> {
    let mut values = OptionValues::default();
    for (is_scope, field, value) in template.all_values(record, positions) {
        if value.is_empty() || field.enterprise != 0 {
            continue;
        }
        if is_scope && format == SetFormat::NetFlow9 {
            // The scope has element numbers of its own; 2 is an interface.
            if field.element == 2 {
                values.interface.index = as_u32(value);
            }
        } else {
            values.add(field.element, value);
        }
    }
    values.finish()
}

impl<'a> OptionValues<'a> {
    fn add(&mut self, element: u16, value: &'a [u8]) {
        let text = Some(before_nul(value));
        match element {
            34 => self.interval = number(value),
            50 => self.random_interval = number(value),
            305 => self.packet_interval = number(value),
            306 => self.packet_space = number(value),
            310 => self.population = number(value),
            309 => self.size = number(value),
            48 | 302 => self.selector = number(value),
            10 | 14 => self.interface.index = as_u32(value),
            82 => self.interface.name = text,
            83 => self.interface.description = text,
            95 => self.application_id = Some(value),
            96 => self.application_name = text,
            94 => self.application_description = text,
            160 => {
                let ms = number(value).and_then(|ms| i64::try_from(ms).ok());
                self.system_init = ms.map(Timestamp::from_ms);
            }
            _ => {}
        }
    }

    fn finish(self) -> OptionRecord<'a> {
        let rate = rate_of_interval(self.packet_interval, self.packet_space)
            .or_else(|| rate_of_size(self.population, self.size))
            .or(self.interval)
            .or(self.random_interval);
        let sampling = rate.filter(|rate| *rate > 0).map(|rate| SamplingOption {
            rate,
            selector: self.selector,
        });
        let is_named = self.interface.name.is_some() || self.interface.description.is_some();
        let application = self.application_id.and_then(|id| {
            let (&engine, selector) = id.split_first()?;
            Some(ApplicationOption {
                engine,
                selector: number(selector)?,
                name: self.application_name,
                description: self.application_description,
            })
        });
        OptionRecord {
            sampling,
            interface: is_named.then_some(self.interface),
            application,
            system_init: self.system_init,
        }
    }
}

fn as_u32(value: &[u8]) -> Option<u32> {
    number(value).and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_split_and_padding_is_skipped() {
        let bytes = [0, 2, 0, 6, 7, 7, 1, 0, 0, 5, 9, 0, 77, 0, 4, 0, 0, 0, 0, 0];
        let mut message = Reader::new(&bytes);
        let mut next = || next_set(&mut message, SetFormat::Ipfix);
        assert_eq!(next(), Some(Set::Templates(&[7, 7])));
        assert_eq!(next(), Some(Set::Data(256, &[9])));
        assert_eq!(next(), Some(Set::Reserved));
        assert_eq!(next(), None, "zeros");
        let mut cut = Reader::new(&[1, 0, 0, 9, 1, 2]);
        assert_eq!(
            next_set(&mut cut, SetFormat::NetFlow9),
            Some(Set::Cut(256, &[1, 2]))
        );
        let mut short = Reader::new(&[1, 0, 0, 3, 1]);
        assert_eq!(
            next_set(&mut short, SetFormat::NetFlow9),
            Some(Set::Invalid)
        );
        assert_eq!(next_set(&mut short, SetFormat::NetFlow9), None);
    }

    #[test]
    fn withdrawals_and_invalid_definitions_are_recognized() {
        let next = |bytes: &[u8]| next_template(&mut Reader::new(bytes), SetFormat::Ipfix);
        assert!(matches!(
            next(&[1, 4, 0, 0]),
            Some(Ok(Definition::Withdrawal(260)))
        ));
        assert!(matches!(
            next(&[0, 2, 0, 0]),
            Some(Ok(Definition::WithdrawalOfAll))
        ));
        assert!(matches!(
            next(&[0, 9, 0, 1, 0, 1, 0, 4]),
            Some(Err(InvalidDefinition))
        ));
        assert!(matches!(
            next(&[1, 0, 0, 2, 0, 1, 0, 4]),
            Some(Err(InvalidDefinition))
        ));
        let empty = next(&[1, 0, 0, 1, 0, 1, 0, 0]);
        assert!(matches!(empty, Some(Ok(Definition::Template(256, None)))));
        assert!(next(&[0]).is_none());
        let next = |bytes: &[u8]| next_options_template(&mut Reader::new(bytes), SetFormat::Ipfix);
        let no_scope = next(&[1, 0, 0, 1, 0, 0, 0, 34, 0, 4]);
        assert!(matches!(
            no_scope,
            Some(Ok(Definition::Template(256, None)))
        ));
        let scope = next(&[1, 0, 0, 1, 0, 1, 0, 34, 0, 4]);
        assert!(matches!(
            scope,
            Some(Ok(Definition::Template(256, Some(_))))
        ));
        let mut zeros = Reader::new(&[0; 8]);
        assert!(
            next_template(&mut zeros, SetFormat::NetFlow9).is_none(),
            "padding"
        );
    }
}
