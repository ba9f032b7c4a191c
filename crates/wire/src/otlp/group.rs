//! What the records of a request share. The three signals have the same frame: `Resource*` holds a resource (1),
//! scopes (2) and a schema URL (3); `Scope*` holds a scope (1), records (2) and a schema URL (3).

use model::Group;

use super::Attributes;
use crate::protobuf::Reader;
use crate::{Limits, WireError};

/// The resource of a `ResourceSpans`, `ResourceLogs` or `ResourceMetrics`.
#[derive(Debug, Default)]
pub(crate) struct Resource<'a> {
    pub(crate) attributes: Attributes<'a>,
    dropped: u32,
    schema_url: &'a str,
}

/// The scope of a `ScopeSpans`, `ScopeLogs` or `ScopeMetrics`.
#[derive(Debug, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    attributes: Attributes<'a>,
    dropped: u32,
    schema_url: &'a str,
}

impl<'a> Resource<'a> {
    /// Reads what stands beside the scopes, in whichever order the fields come.
    pub(crate) fn read(&mut self, mut r: Reader<'a>, limits: &Limits) -> Result<(), WireError> {
        self.attributes.clear();
        self.dropped = 0;
        self.schema_url = "";
        while let Some(f) = r.field("a resource's records")? {
            match f.number {
                1 => {
                    let mut r = f.message()?;
                    while let Some(f) = r.field("Resource")? {
                        match f.number {
                            1 => self.attributes.push(f.message()?, limits)?,
                            2 => self.dropped = f.u32()?,
                            _ => {}
                        }
                    }
                }
                3 => self.schema_url = f.string("schema_url")?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Both as the sinks take them.
    pub(crate) fn group<'g>(&'g self, scope: &'g Scope<'a>) -> Group<'g> {
        Group {
            resource: &self.attributes.list,
            resource_dropped: self.dropped.saturating_add(self.attributes.dropped),
            resource_schema_url: self.schema_url,
            scope_name: scope.name,
            scope_version: scope.version,
            scope: &scope.attributes.list,
            scope_dropped: scope.dropped.saturating_add(scope.attributes.dropped),
            scope_schema_url: scope.schema_url,
            labels: &[],
        }
    }
}

impl<'a> Scope<'a> {
    /// Reads what stands beside the records; says whether there are any.
    pub(crate) fn read(&mut self, mut r: Reader<'a>, limits: &Limits) -> Result<bool, WireError> {
        self.attributes.clear();
        (self.name, self.version, self.schema_url, self.dropped) = ("", "", "", 0);
        let mut records = false;
        while let Some(f) = r.field("a scope's records")? {
            match f.number {
                1 => {
                    let mut r = f.message()?;
                    while let Some(f) = r.field("InstrumentationScope")? {
                        match f.number {
                            1 => self.name = f.string("InstrumentationScope.name")?,
                            2 => self.version = f.string("InstrumentationScope.version")?,
                            3 => self.attributes.push(f.message()?, limits)?,
                            4 => self.dropped = f.u32()?,
                            _ => {}
                        }
                    }
                }
                2 => records = true,
                3 => self.schema_url = f.string("schema_url")?,
                _ => {}
            }
        }
        Ok(records)
    }
}
