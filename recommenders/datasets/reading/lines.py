"""SQL that reads the rows of files: fast by DuckDB's typed reader, or exactly, with number and text of every line."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.datasets.reading.joining import LINE_END_MARK
from recommenders.datasets.reading.text import TextFile
from recommenders.errors import DataError

MAX_LINE = 1 << 24  # bytes of a line
UNUSED_DELIMITER = "\x01\x02\x03"  # a delimiter that no line contains, so the whole line is one field

# Fields of a line with a quotation mark. A delimiter is put in front, so each match is a delimiter and a field.
FIELD = r"""{d}("([^"]|"")*"|[^{c}]*)"""
WHOLE_RECORD = r"""({d}("([^"]|"")*"|[^{c}"][^{c}]*)?)*"""
WHOLE_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")


def no_rows(columns: Mapping[str, str]) -> str:
    """SQL of an empty table with the columns that every reader returns."""
    typed = "".join(f', null::{type_} as "{column}"' for column, type_ in columns.items())
    head = "null::varchar as file, null::bigint as line, null::varchar as raw, null::varchar as broken"
    return f"select {head}{typed} where false"


def typed_rows(file: TextFile, columns: Mapping[str, str], delimiter: str) -> str:
    """Rows of a file without quotation marks, by DuckDB's parallel reader; line and raw are null.

    A row with another number of fields or other types is left out; the caller finds this by counting the rows.
    """
    header = file.header or list(columns)
    # names in the header may be empty or repeated
    place = {name: f"c{header.index(name)}" for name in columns if name in header}
    # DuckDB reads 1.5 as the whole number 2, so whole numbers are read as doubles, and are null if they are not whole
    read_as = {at: "DOUBLE" if columns[name] in WHOLE_NUMBERS else columns[name] for name, at in place.items()}
    types = ", ".join(f"c{number}: '{read_as.get(f'c{number}', 'VARCHAR')}'" for number in range(len(header)))
    parts = " ".join(
        f"when {_is_not_whole(place[name], type_)} then {text_literal(f'{name} is not {type_name(type_)}')}"
        for name, type_ in columns.items()
        if type_ in WHOLE_NUMBERS and name in place
    )
    trimmed = [
        f'{_trim(place[name], type_, file.has_spaces) if name in place else f"null::{type_}"} as "{name}"'
        for name, type_ in columns.items()
    ]
    return f"""
        select {text_literal(file.name)} as file, null::bigint as line, null::varchar as raw,
            {f"case {parts} end" if parts else "null::varchar"} as broken, {", ".join(trimmed)}
        from read_csv({path_literal(file.path)}, columns = {{{types}}}, header = {bool(file.header)},
            delim = {text_literal(delimiter)}, {_options(file)}, ignore_errors = true)
    """


def _is_not_whole(value: str, type_: str) -> str:
    """SQL: whether a double is not a whole number of the type, or too large for a double to be exact."""
    violation = f"try_cast({value} as {type_}) is null or {value} <> trunc({value}) or abs({value}) >= {2**53}"
    return f"{value} is not null and ({violation})"


def _trim(value: str, type_: str, has_spaces: bool) -> str:
    if type_ in WHOLE_NUMBERS:
        return f"try_cast({value} as {type_})"
    return f"nullif(trim({value}), '')" if has_spaces and type_ == "VARCHAR" else value


def _options(file: TextFile) -> str:
    return (
        f"auto_detect = false, quote = '', escape = '', new_line = '{file.newline}',"
        f" max_line_size = {MAX_LINE}, buffer_size = {4 * MAX_LINE}"
    )


def _numbered(file: TextFile) -> str:
    """All lines that are not blank: line (from 1, including the header), raw."""
    return f"""
        (select line, raw from (
            select row_number() over () as line, raw
            from read_csv({path_literal(file.path)}, columns = {{'raw': 'VARCHAR'}}, header = false,
                delim = {text_literal(UNUSED_DELIMITER)}, {_options(file)}))
         where trim(raw) <> '' {"and line > 1" if file.header else ""})
    """


def csv_rows(file: TextFile, columns: Mapping[str, str], delimiter: str) -> str:
    """Rows of a file, one per line: a quotation mark that is never closed breaks its own line only.

    A column that the header lacks is null.
    """
    header = file.header or list(columns)
    width, d = len(header), text_literal(delimiter)
    pattern = {"d": _escape(delimiter), "c": _escape(delimiter[0])}
    fields = f"""
        case when contains(raw, '"')
             then [case when f[{len(delimiter) + 1}] = '"' then replace(f[{len(delimiter) + 2}:-2], '""', '"')
                        else f[{len(delimiter) + 1}:] end
                   for f in regexp_extract_all({d} || raw, {text_literal(FIELD.format(**pattern))})]
             else string_split(raw, {d}) end
    """
    whole = f"regexp_full_match({d} || raw, {text_literal(WHOLE_RECORD.format(**pattern))})"
    found = [f"fields[{header.index(name) + 1}]" if name in header else "null::varchar" for name in columns]
    texts = [f"nullif({_stripped(value, file)}, '') as t{place}" for place, value in enumerate(found)]
    return f"""
        select {text_literal(file.name)} as file, line, {_with_line_ends("raw", file)} as raw,
            case when bad_line is not null then bad_line when contains(raw, '"') and not {whole} then 'broken quotes'
                 when len(fields) <> {width} then 'wrong number of fields' {_schema_violations(columns)} end as broken,
            {_typed(columns)}
        from (select *, {", ".join(texts)} from (select line, raw, {fields} as fields from {_numbered(file)}))
        left join {_bad_lines(file)} using (line)
    """


def _stripped(value: str, file: TextFile) -> str:
    ends = "chr(10) || ' '"
    return f"trim(trim({_with_line_ends(value, file)}, {ends}))" if file.has_joined else f"trim({value})"


def _with_line_ends(value: str, file: TextFile) -> str:
    """SQL of the text with its original line ends, if records of several lines were joined."""
    return f"replace({value}, {text_literal(LINE_END_MARK)}, chr(10))" if file.has_joined else value


def json_objects(file: TextFile, columns: Mapping[str, str]) -> str:
    """Rows of a file with one JSON object per line, by DuckDB's parallel reader; line and raw are null.

    A line that is not such an object is a row of nulls, with the reason in `broken`.
    """
    keys = ", ".join(f"{text_literal(name)}: 'VARCHAR'" for name in columns)
    named = ", ".join(f"nullif(trim(\"{name}\"), '') as t{place}" for place, name in enumerate(columns))
    nothing = " and ".join(f"t{place} is null" for place in range(len(columns)))
    return f"""
        select {text_literal(file.name)} as file, null::bigint as line, null::varchar as raw,
            case when {nothing} then 'not a JSON object' {_schema_violations(columns)} end as broken, {_typed(columns)}
        from (select {named} from read_json({path_literal(file.path)}, columns = {{{keys}}},
            format = 'newline_delimited', ignore_errors = true, maximum_object_size = {MAX_LINE}))
    """


def json_rows(file: TextFile, columns: Mapping[str, str]) -> str:
    """Like json_objects, with the number and text of each line; a line that is not an object breaks itself only."""
    wanted = ", ".join(f'"{name}": "VARCHAR"' for name in columns)
    named = ", ".join(f"nullif(trim(fields.\"{name}\"), '') as t{place}" for place, name in enumerate(columns))
    return f"""
        select {text_literal(file.name)} as file, line, raw,
            case when bad_line is not null then bad_line
                 when fields is null then 'not a JSON object' {_schema_violations(columns)} end as broken,
            {_typed(columns)}
        from (select *, {named} from (
            select line, raw, case when json_valid(raw) and json_type(raw) = 'OBJECT'
                                   then json_transform(raw, {text_literal("{" + wanted + "}")}) end as fields
            from {_numbered(file)}))
        left join {_bad_lines(file)} using (line)
    """


def _bad_lines(file: TextFile) -> str:
    """A table of the lines that are not text, with reasons. A join is faster than a case with thousands of branches."""
    reasons = ", ".join(text_literal(reason) for reason in file.bad_lines.values())
    return f"(select unnest({list(file.bad_lines)}::bigint[]) as line, unnest([{reasons}]::varchar[]) as bad_line)"


def _schema_violations(columns: Mapping[str, str]) -> str:
    """Branches of an SQL case, one for each column with a type: text that cannot be cast to the type."""
    return " ".join(
        _schema_violation(f"t{place}", name, type_)
        for place, (name, type_) in enumerate(columns.items())
        if type_ != "VARCHAR"
    )


def _schema_violation(value: str, name: str, type_: str) -> str:
    reason = text_literal(f"{name} is not {type_name(type_)}")
    number = f"try_cast({value} as double)"
    part = f" or coalesce({number} <> trunc({number}), true)" if type_ in WHOLE_NUMBERS else ""
    return f"when {value} is not null and (try_cast({value} as {type_}) is null{part}) then {reason}"


def type_name(type_: str) -> str:
    """A DuckDB type as words for a message."""
    if type_ in WHOLE_NUMBERS:
        return "a whole number"
    return {"DOUBLE": "a number", "BOOLEAN": "true or false"}.get(type_, "a time")


def _typed(columns: Mapping[str, str]) -> str:
    return ", ".join(
        f't{place} as "{name}"' if type_ == "VARCHAR" else f'try_cast(t{place} as {type_}) as "{name}"'
        for place, (name, type_) in enumerate(columns.items())
    )


def check_parquet(
    path: Path, dataset: str, columns: Sequence[str] | Mapping[str, str], may_be_empty: bool = False
) -> Path:
    """The path. Raises DataError unless it is a Parquet file with these columns, and not empty unless may_be_empty."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{dataset}: {path} is not a Parquet file: {first_line}; export it again") from error
    with file:
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            got = ", ".join(file.schema_arrow.names)
            raise DataError(f"{dataset}: {path} lacks {', '.join(missing)}; got {got}; rename or add the columns")
        if twice := [name for name in columns if file.schema_arrow.names.count(name) > 1]:
            raise DataError(f"{dataset}: {path} has {', '.join(twice)} twice; expected it once; rename one of them")
        if file.metadata.num_rows == 0 and not may_be_empty:
            raise DataError(f"{dataset}: {path} has no rows; expected at least one; export it again")
    return path


def parquet_names(path: Path) -> list[str]:
    """The columns of a Parquet file."""
    return list(pq.read_schema(path).names)


def parquet_rows(paths: Sequence[Path], columns: Mapping[str, str]) -> str:
    """Rows of Parquet files; a row whose values cannot be cast is broken. A column that a file lacks is null there.

    Names are case-sensitive, as in text files. DuckDB treats U and u as the same name and calls the second one u_1.
    """
    groups: dict[tuple[str | None, ...], list[Path]] = {}
    for path in paths:
        engine_names = _engine_names(path)
        groups.setdefault(tuple(engine_names.get(name) for name in columns), []).append(path)
    return " union all by name ".join(
        _parquet_rows(group, columns, engine_names) for engine_names, group in groups.items()
    )


def _engine_names(path: Path) -> dict[str, str]:
    """Column of a Parquet file -> the name that DuckDB gives it."""
    names = parquet_names(path)
    if len({name.casefold() for name in names}) == len(names):
        return {name: name for name in names}
    with duckdb.connect() as engine:
        described = engine.execute(f"describe from read_parquet({path_literal(path)})").fetchall()
    return dict(zip(names, (row[0] for row in described), strict=True))


def _parquet_rows(paths: Sequence[Path], columns: Mapping[str, str], engine_names: Sequence[str | None]) -> str:
    values = {
        name: f"null::{columns[name]}" if given is None else f'"{given}"'
        for name, given in zip(columns, engine_names, strict=True)
    }
    typed = ", ".join(f'try_cast({values[name]} as {type_}) as "{name}"' for name, type_ in columns.items())
    violations = " ".join(_schema_violation(values[name], name, type_) for name, type_ in columns.items())
    fields = ", ".join(f"{text_literal(name)}: {value}" for name, value in values.items())
    files = ", ".join(path_literal(path) for path in paths)
    return f"""
        select parse_filename("tradewind file") as file, file_row_number + 1 as line,
            to_json({{{fields}}})::varchar as raw,
            case {violations} end as broken, {typed}
        from read_parquet([{files}], filename = 'tradewind file', file_row_number = true, union_by_name = true)
    """


def _escape(text: str) -> str:
    """The text with the special characters of a regular expression escaped."""
    return "".join("\\" + letter if letter in "|.^$*+?()[]{}\\" else letter for letter in text).replace("\t", r"\t")


def text_literal(text: str) -> str:
    """The text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def path_literal(path: Path) -> str:
    """The path as an SQL literal, escaped because DuckDB treats *, ? and [ as patterns."""
    return text_literal(glob.escape(str(path)))
