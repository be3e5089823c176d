"""Turns raw click logs into records, line by line, as the reference implementation does; imports nothing of dlrm_pl."""

from __future__ import annotations


def parse(line: bytes, max_ind_range: int) -> list[int]:
    """Return label, dense values and raw categories."""
    fields = line.rstrip(b"\r\n").split(b"\t")
    record = [int(fields[0])]
    for field in fields[1:14]:
        value = int(field) if field else 0
        record.append(value if value > 0 else 0)
    for field in fields[14:40]:
        value = int(field, 16) if field else 0
        record.append(value % max_ind_range if max_ind_range > 0 else value)
    return record


def preprocess(days: list[list[bytes]], max_ind_range: int) -> tuple[list[list[list[int]]], list[list[int]]]:
    """Return records by day, and the raw values of each table in the order of their ids."""
    dictionaries: list[dict[int, int]] = [{} for _ in range(26)]
    records = []
    for day in days:
        of_day = []
        for line in day:
            record = parse(line, max_ind_range)
            for table in range(26):
                value = record[14 + table]
                if value not in dictionaries[table]:
                    dictionaries[table][value] = len(dictionaries[table])
                record[14 + table] = dictionaries[table][value]
            of_day.append(record)
        records.append(of_day)
    return records, [list(dictionary) for dictionary in dictionaries]


def preprocess_train_only(
    days: list[list[bytes]], max_ind_range: int, min_count: int
) -> tuple[list[list[list[int]]], list[list[int]]]:
    """Return the same with ids from the training days only; row 0 is for values with under ``min_count`` rows there."""
    parsed = [[parse(line, max_ind_range) for line in day] for day in days]
    values: list[list[int]] = []
    for table in range(26):
        column = [record[14 + table] for day in parsed[:-1] for record in day]
        kept = [value for value in dict.fromkeys(column) if column.count(value) >= min_count]
        values.append([-1, *kept])
    for day in parsed:
        for record in day:
            for table in range(26):
                value = record[14 + table]
                record[14 + table] = values[table].index(value) if value in values[table] else 0
    return parsed, values
