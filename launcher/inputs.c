/* See inputs.h. */
#include "launcher/inputs.h"

void dl_inputs_list(const dl_data *data, bool stored, dl_field *fields) {
    for (int i = 0; i < dl_data_field_count(data); i++) {
        const dl_data_field *field = dl_data_field_at(data, i);
        fields[i] = (dl_field){.name = field->name,
                               .type = field->type,
                               .classes = field->classes,
                               .class_count = field->class_count,
                               .as_stored = field->bytes || (stored && field->prepares > 0),
                               .stored = field->stored,
                               .prepare = field->prepare,
                               .prepares = field->prepares};
    }
}

int dl_inputs_find(const dl_exec *exec, const dl_data_field *field, bool *stored) {
    char name[DL_INPUT_NAME];
    int input = dl_exec_input(exec, dl_stored_name(name, field->name));
    *stored = input >= 0;
    return *stored ? input : dl_exec_input(exec, field->name);
}

void dl_inputs_bind_constants(dl_exec *exec, const dl_data *data) {
    char name[DL_INPUT_NAME];
    for (int i = 0; i < dl_data_field_count(data); i++) {
        const dl_data_field *field = dl_data_field_at(data, i);
        for (int k = 0; k < field->prepares; k++)
            for (int by = 0; by < 2; by++)
                dl_exec_bind_constant(
                    exec, dl_exec_input(exec, dl_constant_name(name, field->name, k, by)),
                    by ? field->prepare[k].by : field->prepare[k].offset);
    }
}
