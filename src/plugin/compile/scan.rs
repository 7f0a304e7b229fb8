//! The look at a component before anything is compiled: it validates, fits the structural bounds and imports nothing that
//! no host gives. It takes milliseconds and sees the obvious bombs; what passes is compiled within the child's limits.

use std::ops::Range;

use wasmparser::{
    BinaryReaderError, ComponentExternalKind, Encoding, FuncValidatorAllocations, FunctionBody, Instance, MemoryType,
    Operator, Parser, Payload, TableType, ValidPayload, Validator,
};

use crate::plugin::{
    Limits, PluginError,
    engine::{FEATURES, MAX_CORE_INSTANCES_PER_COMPONENT, MAX_MEMORIES_PER_COMPONENT, MAX_TABLE_ELEMENTS},
};

/// Bounds that components of every toolchain keep: Rust, C, QuickJS, StarlingMonkey and Python, the largest, whose share
/// of each bound is beside it.
const MAX_MODULES: usize = 48; // 38
const MAX_FUNCTIONS: usize = 25_000; // 13,480
const MAX_BODY_BYTES: usize = 768 << 10; // 416 KiB
const MAX_LOCALS: usize = 1_000; // 271
const MAX_NESTING: usize = 1_024; // 781
/// Blocks times locals: what a register allocator's work grows with.
const MAX_WEIGHT: usize = 400_000; // 194,228
const MAX_TOTAL_WEIGHT: usize = 4_000_000; // 2.9 million
const MAX_TABLES: usize = 16;
const MAX_IMPORTS: usize = 16;
const MAX_IMPORTED_NAME_BYTES: usize = 200;

const OURS: &str = "jackfield:plugin/";
const PAGE_BYTES: u64 = 64 << 10;

/// What was counted so far.
#[derive(Default)]
struct Shape {
    modules: usize,
    instances: usize,
    functions: usize,
    total_weight: usize,
    memories: usize,
    memory_bytes: u64,
    tables: usize,
    imports: usize,
    /// Whether it exports anything of this interface.
    exports_ours: bool,
}

/// Looks at a component.
///
/// # Errors
/// [`PluginError`]: too large, not a component, an import that no host gives, no known world, or the bound that it is over.
pub fn scan(wasm: &[u8], limits: &Limits) -> Result<(), PluginError> {
    if wasm.len() > limits.max_size_bytes {
        return Err(PluginError::TooLarge { size_bytes: wasm.len(), max_bytes: limits.max_size_bytes });
    }
    let mut shape = Shape::default();
    let mut validator = Validator::new_with_features(FEATURES);
    let mut allocations = FuncValidatorAllocations::default();
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    if !wasm.starts_with(b"\0asm") {
        return Err(PluginError::NotAComponent("it does not begin as WebAssembly does, with `\\0asm`".to_owned()));
    }
    // How many components and modules enclose the payload: 1 is the component itself.
    let mut depth = 0;
    for payload in parser.parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        match &payload {
            Payload::Version { encoding, .. } => {
                depth += 1;
                if depth == 1 && *encoding == Encoding::Module {
                    return Err(PluginError::NotAComponent("it is a core module".to_owned()));
                }
            }
            Payload::End(_) => depth -= 1,
            _ => {}
        }
        // Counted before it is validated: validating, too, takes longer the more there is.
        shape.count(&payload, depth, limits)?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(invalid)? {
            let mut function = function.into_validator(std::mem::take(&mut allocations));
            function.validate(&body).map_err(invalid)?;
            allocations = function.into_allocations();
        }
    }
    if !shape.exports_ours {
        return Err(PluginError::World("it exports nothing of jackfield:plugin".to_owned()));
    }
    Ok(())
}

impl Shape {
    fn count(&mut self, payload: &Payload, depth: usize, limits: &Limits) -> Result<(), PluginError> {
        match payload {
            Payload::ModuleSection { .. } => {
                self.modules += 1;
                at_most("core modules", self.modules, MAX_MODULES, "link the code into fewer")
            }
            Payload::InstanceSection(instances) => {
                for instance in instances.clone() {
                    if let Instance::Instantiate { .. } = instance.map_err(invalid)? {
                        self.instances += 1;
                    }
                }
                let most = MAX_CORE_INSTANCES_PER_COMPONENT as usize;
                at_most("core instances", self.instances, most, "link the code into fewer modules")
            }
            Payload::MemorySection(memories) => {
                for memory in memories.clone() {
                    self.count_memory(&memory.map_err(invalid)?, limits)?;
                }
                Ok(())
            }
            Payload::TableSection(tables) => {
                for table in tables.clone() {
                    self.count_table(&table.map_err(invalid)?.ty)?;
                }
                Ok(())
            }
            Payload::CodeSectionStart { count, .. } => {
                self.functions += *count as usize;
                at_most("functions", self.functions, MAX_FUNCTIONS, "leave out what is not used (strip, wasm-opt -Oz)")
            }
            Payload::CodeSectionEntry(body) => self.count_body(body),
            Payload::ComponentImportSection(imports) if depth == 1 => {
                for import in imports.clone() {
                    self.count_import(import.map_err(invalid)?.name.name)?;
                }
                Ok(())
            }
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports.clone() {
                    let export = export.map_err(invalid)?;
                    self.exports_ours |=
                        export.kind == ComponentExternalKind::Instance && export.name.name.starts_with(OURS);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn count_memory(&mut self, memory: &MemoryType, limits: &Limits) -> Result<(), PluginError> {
        self.memories += 1;
        at_most("memories", self.memories, MAX_MEMORIES_PER_COMPONENT as usize, "let its modules share one")?;
        self.memory_bytes = self.memory_bytes.saturating_add(memory.initial.saturating_mul(PAGE_BYTES));
        if self.memory_bytes > limits.max_memory_bytes as u64 {
            return Err(PluginError::Structure(format!(
                "it starts with {} bytes of memory, and an instance may have {} (PLUGIN_MAX_MEMORY): lower its initial \
                 memory, of which the stack is often most (-Wl,-z,stack-size=65536)",
                self.memory_bytes, limits.max_memory_bytes
            )));
        }
        Ok(())
    }

    fn count_table(&mut self, table: &TableType) -> Result<(), PluginError> {
        self.tables += 1;
        at_most("tables", self.tables, MAX_TABLES, "link the code into fewer modules")?;
        let elements = usize::try_from(table.initial).unwrap_or(usize::MAX);
        at_most("elements in a table", elements, MAX_TABLE_ELEMENTS, "leave out functions that are not used")
    }

    fn count_body(&mut self, body: &FunctionBody) -> Result<(), PluginError> {
        let Range { start, end } = body.range();
        let bytes = end - start;
        at_most("bytes of code in a function", bytes, MAX_BODY_BYTES, SMALLER)?;
        let mut locals = 0_usize;
        for declared in body.get_locals_reader().map_err(invalid)? {
            locals = locals.saturating_add(declared.map_err(invalid)?.0 as usize);
            at_most("locals in a function", locals, MAX_LOCALS, SMALLER)?;
        }
        let (mut blocks, mut nesting) = (0, 0_usize);
        let mut operators = body.get_operators_reader().map_err(invalid)?;
        while !operators.eof() {
            match operators.read().map_err(invalid)? {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                    (blocks, nesting) = (blocks + 1, nesting + 1);
                    at_most("blocks inside each other", nesting, MAX_NESTING, SMALLER)?;
                }
                // The last one ends the function.
                Operator::End => nesting = nesting.saturating_sub(1),
                _ => {}
            }
        }
        let weight = blocks * locals.max(1);
        at_most("blocks times locals in a function", weight, MAX_WEIGHT, SMALLER)?;
        self.total_weight += weight;
        at_most("blocks times locals over all functions", self.total_weight, MAX_TOTAL_WEIGHT, SMALLER)
    }

    fn count_import(&mut self, name: &str) -> Result<(), PluginError> {
        self.imports += 1;
        at_most("imports", self.imports, MAX_IMPORTS, "a plugin needs log, secrets, clock and types at most")?;
        if name.starts_with(OURS) {
            return Ok(());
        }
        let shown = &name[..name.floor_char_boundary(MAX_IMPORTED_NAME_BYTES)];
        Err(PluginError::Imports(shown.to_owned()))
    }
}

const SMALLER: &str = "split it, or build it optimised (wasm-opt -O)";

fn at_most(what: &str, found: usize, most: usize, advice: &str) -> Result<(), PluginError> {
    if found <= most {
        return Ok(());
    }
    Err(PluginError::Structure(format!("{found} {what}, at most {most} are taken: {advice}")))
}

fn invalid(error: BinaryReaderError) -> PluginError {
    PluginError::NotAComponent(error.to_string().lines().next().unwrap_or_default().to_owned())
}
