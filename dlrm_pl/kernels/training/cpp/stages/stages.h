// All stages of a variant, included within its namespace.

#include "update.h"
#include "linear.h"
#include "cross.h"
#include "interaction.h"
#include "rows.h"

template <typename T>
constexpr Variant variant(const char* isa, Precision precision) {
    return {
        isa, precision,
        pack_bytes<T>, pack<T>, cast<T>, forward<T>, input_gradient<T>, gradient_room<T>(), weight_gradient<T>, weight_descent<T>(),
        logits<T>, logit_input_gradient<T>, logit_weight_gradient<T>,
        project<T>, cross<T>, cross_gradient<T>, project_gradient<T>,
        interact<T>, interact_backward<T>,
        descend, add_row, update_row,
        update,
    };
}
