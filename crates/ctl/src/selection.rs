//! The objects that a changing command works on: from files, names, selectors or `--all`, each as the server has it now.
//!
//! **Contract.** What can be had is returned beside the errors. Lists are read page by page.
//! **Not here.** Words to types: `resolve`. Sending the change: the commands, with `Change`.

use clap::{Arg, ArgMatches};
use serde_json::{Value, json};

use crate::cli::{self, DryRun, value, value_if_any, values};
use crate::commands::Context;
use crate::connection::{JSON, with_query};
use crate::discovery::Resource;
use crate::manifests::{self, Sources};
use crate::output::{self, Format, name};
use crate::report::{Error, message};
use crate::resolve::{self, Query, Target};

/// One object and where it lives.
pub(crate) struct Selected {
    /// Its place.
    pub(crate) target: Target,
    /// What the server has.
    pub(crate) object: Value,
}

/// `-f -R -l --field-selector --all -A`
pub(crate) fn flags() -> Vec<Arg> {
    let mut flags: Vec<Arg> = cli::files().into_iter().chain(cli::selectors()).collect();
    flags.push(cli::flag("all", "Select all resources, in the namespace of the specified resource types"));
    flags.push(cli::all_namespaces());
    flags
}

/// What a command line selects; `arguments` are its positional ones, without those that say what to change.
pub(crate) async fn select(
    context: &Context,
    matches: &ArgMatches,
    arguments: Vec<String>,
) -> Result<(Vec<Selected>, Vec<Error>), Error> {
    let (targets, mut errors) = targets(context, matches, arguments).await?;
    let connection = context.connection().await?;
    let mut found = Vec::new();
    for target in targets {
        if target.name.is_some() {
            match connection.get(&target.path(), JSON).await {
                Ok(object) => found.push(Selected { target, object }),
                Err(error) => errors.push(error),
            }
            continue;
        }
        let (labels, fields) = (value_if_any(matches, "selector"), value_if_any(matches, "field-selector"));
        match list(context, &target, labels, fields).await {
            Ok(all) => found.extend(all),
            Err(error) => errors.push(error),
        }
    }
    Ok((found, errors))
}

/// The same where a type without names means all of its objects, and there are fewer flags.
pub(crate) async fn select_all(
    context: &Context,
    matches: &ArgMatches,
    arguments: Vec<String>,
) -> Result<(Vec<Selected>, Vec<Error>), Error> {
    let (labels, files) = (value_if_any(matches, "selector"), Sources::from_matches(matches)?);
    let (targets, mut errors) = if files.is_empty() {
        let selector = !labels.is_empty();
        let query = Query { arguments, selector, all_namespaces: false, allow_all: true };
        (resolve::targets(context, &query).await?, Vec::new())
    } else {
        let (found, errors) = manifests::read(context, &files).await?;
        (found.into_iter().map(Target::from).collect(), errors)
    };
    let connection = context.connection().await?;
    let mut found = Vec::new();
    for target in targets {
        if target.name.is_none() {
            match list(context, &target, labels, "").await {
                Ok(all) => found.extend(all),
                Err(error) => errors.push(error),
            }
            continue;
        }
        match connection.get(&target.path(), JSON).await {
            Ok(object) => found.push(Selected { target, object }),
            Err(error) => errors.push(error),
        }
    }
    Ok((found, errors))
}

/// The objects of files, as they are written: `--local`.
pub(crate) async fn local(
    context: &Context,
    matches: &ArgMatches,
) -> Result<(Vec<Selected>, Vec<Error>), Error> {
    let (found, errors) = manifests::read_local(context, &Sources::from_matches(matches)?).await?;
    let selected = found.into_iter().map(|object| {
        let resource = Resource::of_object(&object);
        let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
        let target = Target { resource, namespace: text("namespace"), name: text("name"), source: None };
        Selected { target, object }
    });
    Ok((selected.collect(), errors))
}

/// `--local`
pub(crate) fn local_flag(command: &str) -> Arg {
    cli::flag("local", format!("If true, {command} will NOT contact api-server but run locally."))
}

/// What a server dry run of a local object is told.
pub(crate) const LOCAL_AND_SERVER: &str =
    "cannot specify --local and --dry-run=server - did you mean --dry-run=client?";

/// What is said where `--local` has no file.
pub(crate) const LOCAL_WITHOUT_FILES: &str = "error: you must specify resources by --filename when --local is set.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'";

/// What commands for a change of each object say where nothing names one.
pub(crate) const NOTHING_GIVEN: &str =
    "one or more resources must be specified as <resource> <name> or <resource>/<name>";

/// What is said where nothing names an object.
pub(crate) const NOTHING_NAMED: &str = "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'";

/// The objects that files or arguments name, each by its name, not yet asked for.
pub(crate) async fn named(
    context: &Context,
    matches: &ArgMatches,
) -> Result<(Vec<Target>, Vec<Error>), Error> {
    let files = Sources::from_matches(matches)?;
    if !files.is_empty() {
        let (found, errors) = manifests::read(context, &files).await?;
        return Ok((found.into_iter().map(Target::from).collect(), errors));
    }
    let arguments = values(matches, "arguments");
    if arguments.is_empty() {
        return Err(message(NOTHING_NAMED));
    }
    Ok((resolve::targets(context, &Query { arguments, ..Query::default() }).await?, Vec::new()))
}

/// The same where a type without names means all of its objects.
pub(crate) async fn named_or_all(
    context: &Context,
    matches: &ArgMatches,
) -> Result<(Vec<Target>, Vec<Error>), Error> {
    let arguments = values(matches, "arguments");
    if Sources::given(matches) || arguments.is_empty() {
        return named(context, matches).await;
    }
    let query = Query { arguments, allow_all: true, ..Query::default() };
    Ok((resolve::targets(context, &query).await?, Vec::new()))
}

/// Names and collections, not yet asked for.
pub(crate) async fn targets(
    context: &Context,
    matches: &ArgMatches,
    arguments: Vec<String>,
) -> Result<(Vec<Target>, Vec<Error>), Error> {
    let files = Sources::from_matches(matches)?;
    if !files.is_empty() {
        if !arguments.is_empty() {
            return Err(message(
                "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
            ));
        }
        let (found, errors) = manifests::read(context, &files).await?;
        let targets = found.into_iter().map(|one| Target {
            name: Some(one.name().to_owned()),
            source: Some(one.source),
            namespace: one.namespace,
            resource: one.resource,
        });
        return Ok((targets.collect(), errors));
    }
    if arguments.is_empty() {
        return Err(message(NOTHING_GIVEN));
    }
    let query = Query {
        arguments,
        selector: !value_if_any(matches, "selector").is_empty()
            || !value_if_any(matches, "field-selector").is_empty()
            || cli::is_on(matches, "all"),
        all_namespaces: cli::is_on(matches, "all-namespaces"),
        allow_all: false,
    };
    Ok((resolve::targets(context, &query).await?, Vec::new()))
}

/// Objects of a page. **Upstream**: `DefaultChunkSize`.
pub(crate) const PAGE: &str = "500";

/// All objects of a collection that fit.
pub(crate) async fn list(
    context: &Context,
    target: &Target,
    labels: &str,
    fields: &str,
) -> Result<Vec<Selected>, Error> {
    let pages = context.connection().await?.pages(&target.path(), labels, fields, PAGE).await;
    let pages = pages.map_err(|error| target.list_error(error, labels, fields))?;
    let objects = pages.into_iter().flat_map(|page| crate::commands::flatten(page, &target.resource));
    let selected = objects.map(|object| {
        let target = Target {
            namespace: object["metadata"]["namespace"].as_str().map(str::to_owned),
            name: object["metadata"]["name"].as_str().map(str::to_owned),
            ..target.clone()
        };
        Selected { target, object }
    });
    Ok(selected.collect())
}

/// The field manager of a command that names none: the program.
const UNNAMED_MANAGER: &str = "kubectl";

/// How changes are sent and told: `--dry-run`, `--field-manager`, `-o`.
pub(crate) struct Change {
    /// `--dry-run`
    pub(crate) dry_run: DryRun,
    manager: String,
    validation: &'static str,
    format: Format,
    show_managed_fields: bool,
}

/// The flags that `Change` reads.
pub(crate) fn change_flags(manager: &'static str) -> Vec<Arg> {
    let manager = cli::text("field-manager", "Name of the manager used to track field ownership")
        .default_value(manager);
    print_flags().into_iter().chain([cli::dry_run(), manager]).collect()
}

/// How objects are printed: `-o` and what goes with it.
pub(crate) fn print_flags() -> Vec<Arg> {
    let [template, missing] = cli::templates();
    let managed = cli::flag(
        "show-managed-fields",
        "If true, keep the managedFields when printing objects in JSON or YAML format",
    );
    vec![cli::output(), template, missing, managed]
}

impl Change {
    /// Reads the flags.
    pub(crate) fn from_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self {
            dry_run: DryRun::from_matches(matches)?,
            manager: match matches.try_contains_id("field-manager") {
                Ok(_) => value(matches, "field-manager").to_owned(),
                Err(_) => UNNAMED_MANAGER.to_owned(),
            },
            validation: "",
            format: output::from_matches(matches)?,
            show_managed_fields: matches.get_flag("show-managed-fields"),
        })
    }

    /// Reads `-o` alone, for commands that have no dry run.
    pub(crate) fn of_output(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self {
            dry_run: DryRun::None,
            manager: String::new(),
            validation: "",
            format: output::from_matches(matches)?,
            show_managed_fields: matches.get_flag("show-managed-fields"),
        })
    }

    /// Reads `--dry-run` alone, for commands that only print lines.
    pub(crate) fn of_dry_run(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self {
            dry_run: DryRun::from_matches(matches)?,
            manager: UNNAMED_MANAGER.to_owned(),
            validation: "",
            format: Format::Human { wide: false },
            show_managed_fields: false,
        })
    }

    /// The same with the server's `fieldValidation`.
    pub(crate) fn with_validation(self, validation: &'static str) -> Self {
        Self { validation, ..self }
    }

    /// The same with a dry run.
    pub(crate) fn with_dry_run(self, dry_run: DryRun) -> Self {
        Self { dry_run, ..self }
    }

    /// The query of a write.
    pub(crate) fn query(&self, path: &str) -> String {
        let manager = ("fieldManager", self.manager.clone());
        with_query(path, &[self.dry_run.query(), manager, ("fieldValidation", self.validation.to_owned())])
    }

    /// Sends a patch; with `--dry-run=client` nothing is sent and the object stays as it is.
    pub(crate) async fn patch(
        &self,
        context: &Context,
        selected: &Selected,
        media: &str,
        body: &Value,
    ) -> Result<Value, Error> {
        if self.dry_run == DryRun::Client || *body == json!({}) {
            return Ok(selected.object.clone());
        }
        let path = self.query(&selected.target.path());
        context.connection().await?.patch(&path, media, body).await
    }

    /// Prints `kind/name done` with a dry run's suffix, or the object where `-o` asks for it.
    pub(crate) fn print(&self, context: &Context, object: &mut Value, done: &str) -> Result<(), Error> {
        let done = format!("{done}{}", self.dry_run.suffix());
        self.print_bare(context, object, &done)
    }

    /// The same without the suffix, which some commands leave out.
    pub(crate) fn print_bare(&self, context: &Context, object: &mut Value, done: &str) -> Result<(), Error> {
        let text = match &self.format {
            Format::Human { .. } => format!("{} {done}\n", name::of(object)),
            format => crate::commands::print_object(format, object, self.show_managed_fields)?,
        };
        context.terminal.out(&text)
    }

    /// What stands between two objects of one command.
    pub(crate) fn print_separator(&self, context: &Context) -> Result<(), Error> {
        if matches!(self.format, Format::Yaml) { context.terminal.out("---\n") } else { Ok(()) }
    }

    /// Whether the command's own line is printed.
    pub(crate) fn is_human(&self) -> bool {
        matches!(self.format, Format::Human { .. })
    }
}
