// A function of a library that was opened by dlopen, for the tables of such functions.
#pragma once

#include <dlfcn.h>

namespace ddp {

// Sets `function`, a pointer to one, to the library's of that name, or to nullptr; says whether there is one.
template <class Function>
bool find_function(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  return function != nullptr;
}

}  // namespace ddp
