"""What stops a training: a precision that it cannot have, too little memory, a loss that has diverged."""
