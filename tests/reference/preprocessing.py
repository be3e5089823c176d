"""Raw click logs to records, line by line, as the reference implementation defines it; imports nothing of dlrm_pl."""

from __future__ import annotations


def preprocess(days: list[list[bytes]], max_ind_range: int) -> tuple[list[list[list[int]]], list[list[int]]]:
    """Records by day, and the raw values of each table in the order of their ids."""
    dictionaries: list[dict[int, int]] = [{} for _ in range(26)]
    records = []
    for day in days:
        of_day = []
        for line in day:
            fields = line.rstrip(b"\r\n").split(b"\t")
            record = [int(fields[0])]
            for field in fields[1:14]:
                value = int(field) if field else 0
                record.append(value if value > 0 else 0)
            for table, field in enumerate(fields[14:40]):
                value = int(field, 16) if field else 0
                if max_ind_range > 0:
                    value = value % max_ind_range
                if value not in dictionaries[table]:
                    dictionaries[table][value] = len(dictionaries[table])
                record.append(dictionaries[table][value])
            of_day.append(record)
        records.append(of_day)
    return records, [list(dictionary) for dictionary in dictionaries]
