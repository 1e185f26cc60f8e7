/* Reads the files of reference cases. See reference.h. */
#include "tests/unit/reference.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 16 };

typedef struct reading {
    dl_arena *arena;
    const char *stem;
    char *at; /* the next line */
    int line;
    const char *numbers; /* not yet given to a tensor */
    size_t left;
    reference_case *current;
} reading;

static dl_status wrong(const reading *reader, const char *what, const char *which) {
    return dl_fail(DL_NO_INPUT, "%s.txt:%d: %s '%s'", reader->stem, reader->line, what, which);
}

static dl_status read_whole(dl_arena *arena, const char *stem, const char *ending, char **out,
                            size_t *size) {
    char path[1024];
    snprintf(path, sizeof path, "%s%s", stem, ending);
    FILE *file = fopen(path, "rb");
    if (!file)
        return dl_fail(DL_NO_INPUT, "no file '%s'", path);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    char *text = length < 0 ? NULL : dl_arena_alloc(arena, (size_t)length + 1);
    bool whole = text && fread(text, 1, (size_t)length, file) == (size_t)length;
    fclose(file);
    if (!whole)
        return dl_fail(DL_NO_INPUT, "'%s' cannot be read", path);
    *out = text;
    *size = (size_t)length;
    return DL_OK;
}

/* The next line, ended where its newline stood; NULL at the end. */
static char *next_line(reading *reader) {
    char *line = reader->at;
    if (*line == '\0')
        return NULL;
    char *end = strchr(line, '\n');
    reader->at = end ? end + 1 : line + strlen(line);
    if (end)
        *end = '\0';
    reader->line++;
    return line;
}

static bool whole_number(const char *text, int64_t *out) {
    char *end;
    *out = strtoll(text, &end, 10);
    return *text && *end == '\0' && *out >= 0;
}

/* Takes the tensor's numbers from those left. */
static dl_status read_tensor(reading *reader, reference_entry *entry, char **word, int words) {
    dl_type *type = &entry->type;
    type->rank = 0;
    for (int i = 0; i < words; i++)
        if (type->rank == DL_MAX_RANK || !whole_number(word[i], &type->dim[type->rank++]))
            return wrong(reader, "no dimension", word[i]);
    size_t bytes = dl_type_bytes(type);
    if (bytes == 0 || bytes > reader->left)
        return wrong(reader, "not enough numbers for", entry->name);
    void *data = dl_arena_alloc(reader->arena, bytes);
    if (!data)
        return dl_fail_memory(bytes);
    memcpy(data, reader->numbers, bytes);
    reader->numbers += bytes;
    reader->left -= bytes;
    entry->data = data;
    for (int64_t i = 0; type->dtype == DL_F32 && i < dl_type_count(type); i++)
        if (!isfinite(((const float *)data)[i]))
            return wrong(reader, "a number is not finite in", entry->name);
    return DL_OK;
}

static dl_status read_entry(reading *reader, char **word, int words) {
    static const char *const keys[] = {"input",    "weight",   "output", "evaluation",
                                       "training", "gradient", "after"};
    reference_entry entry = {.type = {.dtype = DL_F32}};
    int key = 0;
    while (key < DL_COUNT(keys) && strcmp(keys[key], word[0]) != 0)
        key++;
    if (key == DL_COUNT(keys) || words < 3)
        return wrong(reader, "no line of a case:", word[0]);
    reference_case *c = reader->current;
    entry.key = (reference_key)key;
    entry.name = dl_arena_text(reader->arena, word[1]);
    if (!entry.name)
        return dl_fail_memory(64);
    if (reference_find(c, entry.key, entry.name))
        return wrong(reader, "given twice:", entry.name);
    if (entry.key == REFERENCE_EVALUATION || entry.key == REFERENCE_TRAINING) {
        char *end;
        entry.number = strtod(word[2], &end);
        if (words != 3 || *end || !isfinite(entry.number))
            return wrong(reader, "no number", word[2]);
    } else {
        int skip = 2;
        if (entry.key == REFERENCE_INPUT) {
            int64_t classes = 0;
            bool labels = strcmp(word[2], "int32") == 0;
            if ((!labels && strcmp(word[2], "float32") != 0) || words < 5 ||
                !whole_number(word[3], &classes))
                return wrong(reader, "no field:", entry.name);
            entry.type.dtype = labels ? DL_I32 : DL_F32;
            entry.classes = (int)classes;
            skip = 4;
        }
        DL_TRY(read_tensor(reader, &entry, word + skip, words - skip));
        if (entry.key == REFERENCE_INPUT && c->samples && c->samples != entry.type.dim[0])
            return wrong(reader, "another number of samples in", entry.name);
        if (entry.key == REFERENCE_INPUT)
            c->samples = entry.type.dim[0];
    }
    reference_entry *grown = DL_NEW_N(reader->arena, reference_entry, c->entries + 1);
    if (!grown)
        return dl_fail_memory(sizeof entry * (size_t)(c->entries + 1));
    if (c->entries)
        memcpy(grown, c->entry, sizeof entry * (size_t)c->entries);
    grown[c->entries++] = entry;
    c->entry = grown;
    return DL_OK;
}

static dl_status read_job(reading *reader, int64_t lines) {
    const char *text = "";
    for (int64_t i = 0; i < lines && text; i++) {
        const char *line = next_line(reader);
        if (!line)
            return wrong(reader, "the file ends inside the job of", reader->current->name);
        text = dl_arena_format(reader->arena, "%s%s\n", text, line);
    }
    reader->current->job = text;
    return text ? DL_OK : dl_fail_memory(64);
}

/* A line between `case` and `end`. */
static dl_status read_line(reading *reader, char **word, int words) {
    int64_t number;
    bool count = words == 2 && whole_number(word[1], &number);
    if (strcmp(word[0], "job") == 0 && count)
        return read_job(reader, number);
    if (strcmp(word[0], "steps_per_epoch") == 0 && count) {
        reader->current->steps_per_epoch = number;
        return DL_OK;
    }
    return read_entry(reader, word, words);
}

dl_status reference_read(dl_arena *arena, const char *stem, reference_case **out, int *count) {
    reading reader = {.arena = arena, .stem = stem};
    char *numbers;
    size_t size;
    DL_TRY(read_whole(arena, stem, ".txt", &reader.at, &size));
    DL_TRY(read_whole(arena, stem, ".f32", &numbers, &reader.left));
    reader.numbers = numbers;
    int cases = 0;
    for (const char *at = reader.at; (at = strstr(at, "\ncase ")); at++)
        cases++;
    reference_case *list = DL_NEW_N(arena, reference_case, cases + 1);
    if (!list)
        return dl_fail_memory(sizeof *list);
    *count = 0;
    for (char *line; (line = next_line(&reader));) {
        char *word[WORDS], *rest = line;
        int words = 0;
        while (words < WORDS && (word[words] = strtok_r(words ? NULL : line, " ", &rest)))
            words++;
        if (words == 0 || word[0][0] == '#')
            continue;
        reference_case *c = reader.current;
        if (!c && words == 2 && strcmp(word[0], "case") == 0 && *count < cases) {
            reader.current = &list[(*count)++];
            *reader.current =
                (reference_case){.name = dl_arena_text(arena, word[1]), .steps_per_epoch = 1};
        } else if (c && words == 1 && strcmp(word[0], "end") == 0) {
            if (!c->job || c->samples == 0)
                return wrong(&reader, "no job or no input in", c->name);
            reader.current = NULL;
        } else if (c) {
            DL_TRY(read_line(&reader, word, words));
        } else {
            return wrong(&reader, "unknown", word[0]);
        }
    }
    if (reader.current || reader.left)
        return wrong(&reader, "the file ends too early, or numbers are left over:", stem);
    *out = list;
    return DL_OK;
}

const reference_entry *reference_find(const reference_case *c, reference_key key,
                                      const char *name) {
    for (int i = 0; i < c->entries; i++)
        if (c->entry[i].key == key && strcmp(c->entry[i].name, name) == 0)
            return &c->entry[i];
    return NULL;
}
