# Installs the build in BUILD to an empty folder, and lets a project that knows of nothing else build and run on it.
#   cmake -D BUILD=... -D SOURCE=... -D WORK=... -D GENERATOR=... -D COMPILER=... -D BUILD_TYPE=... -P test.cmake

# The documentation shows the project as it is.
file(READ ${SOURCE}/docs/library.md text)
foreach(name CMakeLists.txt main.cpp)
  file(READ ${SOURCE}/tests/consumer/${name} shown)
  string(FIND "${text}" "${shown}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "docs/library.md does not show tests/consumer/${name} as it is")
  endif()
endforeach()

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE out ERROR_VARIABLE err)
  if(NOT status EQUAL 0)
    string(JOIN " " command ${ARGN})
    message(FATAL_ERROR "${command}: exit status ${status}\n${out}${err}")
  endif()
  set(said "${out}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
foreach(file bin/pergrad share/bash-completion/completions/pergrad share/zsh/site-functions/_pergrad
    share/pergrad/configs/fashion_mnist_dpmix.toml share/doc/pergrad/README.md share/doc/pergrad/dp/README.md)
  if(NOT EXISTS ${WORK}/prefix/${file})
    message(FATAL_ERROR "not installed: ${file}")
  endif()
endforeach()
# The package can be moved: it names nothing of the build.
file(GLOB_RECURSE package ${WORK}/prefix/*.cmake)
foreach(file ${package})
  file(STRINGS ${file} lines)
  string(FIND "${lines}" "${BUILD}" at)
  if(NOT at EQUAL -1)
    message(FATAL_ERROR "${file} names ${BUILD}")
  endif()
endforeach()

file(RENAME ${WORK}/prefix ${WORK}/moved)
file(COPY ${SOURCE}/tests/consumer/CMakeLists.txt ${SOURCE}/tests/consumer/main.cpp DESTINATION ${WORK}/source)
run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${WORK}/source -B ${WORK}/build -D CMAKE_PREFIX_PATH=${WORK}/moved
  -D CMAKE_CXX_COMPILER=${COMPILER} -D CMAKE_BUILD_TYPE=${BUILD_TYPE})
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/consumer ${WORK}/ledger.jsonl)
if(NOT said MATCHES "^loss 0\\.6931 before, 0\\.[0-9]+ after\nepsilon [0-9.]+ at delta 1e-05\n$")
  message(FATAL_ERROR "the consumer said:\n${said}")
endif()
message("${said}")
