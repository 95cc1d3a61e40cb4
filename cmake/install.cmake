# cmake --install build/<preset> --prefix DIR: the program, the floors as libraries that find_package(pergrad)
# finds (docs/library.md), completion for bash and zsh, configs and documentation.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pergrad)
set(include_dir ${CMAKE_INSTALL_INCLUDEDIR}/pergrad)

# The libraries, as pergrad::<floor>, and their headers: all but those of apps/, which is the program.
set(floors accounting core autograd augment dp layers)
foreach(floor ${floors})
  set_target_properties(pergrad_${floor} PROPERTIES EXPORT_NAME ${floor})
  target_compile_features(pergrad_${floor} INTERFACE cxx_std_20)
  # Headers hold code of the privacy path: no contraction there, whoever compiles it.
  target_compile_options(pergrad_${floor} INTERFACE $<INSTALL_INTERFACE:$<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>>)
endforeach()
list(TRANSFORM floors PREPEND pergrad_ OUTPUT_VARIABLE libraries)
set_target_properties(pergrad_options PROPERTIES EXPORT_NAME link_options)  # of static libraries: sanitizers
install(TARGETS ${libraries} pergrad_options EXPORT pergradTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${include_dir})
install(DIRECTORY core dp autograd augment layers DESTINATION ${include_dir}
  FILES_MATCHING PATTERN *.h PATTERN isa EXCLUDE)

# The package.
configure_package_config_file(cmake/pergradConfig.cmake.in ${PROJECT_BINARY_DIR}/package/pergradConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/pergradConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(EXPORT pergradTargets NAMESPACE pergrad:: DESTINATION ${package_dir})
install(FILES ${PROJECT_BINARY_DIR}/package/pergradConfig.cmake
  ${PROJECT_BINARY_DIR}/package/pergradConfigVersion.cmake DESTINATION ${package_dir})

# The program, and its own word on how a shell completes it. (A cuDNN that is not where the system looks is
# found where it was.)
set_target_properties(pergrad PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
install(TARGETS pergrad RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(CODE "
  foreach(shell bash zsh)
    execute_process(COMMAND $<TARGET_FILE:pergrad> completion \${shell} COMMAND_ERROR_IS_FATAL ANY
      OUTPUT_FILE ${PROJECT_BINARY_DIR}/package/completion.\${shell})
  endforeach()")
install(FILES ${PROJECT_BINARY_DIR}/package/completion.bash RENAME pergrad
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${PROJECT_BINARY_DIR}/package/completion.zsh RENAME _pergrad
  DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)

# What is to be read: the documents keep their places, so that their links to each other hold.
install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/pergrad)
install(FILES README.md LICENSE CHANGELOG.md CONTRIBUTING.md SECURITY.md CITATION.cff DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs core dp autograd augment layers apps DESTINATION ${CMAKE_INSTALL_DOCDIR}
  FILES_MATCHING PATTERN *.md PATTERN *.svg PATTERN *.json PATTERN isa EXCLUDE PATTERN gpu EXCLUDE
  PATTERN main EXCLUDE PATTERN audit EXCLUDE)
